from detectors.outputs.pva_server import server_conf


def test_the_port_of_the_environment_is_the_iocs() -> None:
    environment = {
        "EPICS_PVAS_SERVER_PORT": "5075",
        "EPICS_PVA_SERVER_PORT": "5075",
        "EPICS_PVAS_BROADCAST_PORT": "5076",
        "EPICS_PVAS_INTF_ADDR_LIST": "10.0.0.1:5075 10.0.0.2",
        "HOME": "/root",
    }
    assert server_conf([], None, environment) == {
        "EPICS_PVAS_SERVER_PORT": "0",
        "EPICS_PVAS_BROADCAST_PORT": "5076",
        "EPICS_PVAS_INTF_ADDR_LIST": "10.0.0.1 10.0.0.2",
    }


def test_the_configuration_wins_over_the_environment() -> None:
    conf = server_conf(["127.0.0.2"], 6000, {"EPICS_PVAS_INTF_ADDR_LIST": "127.0.0.1"})
    assert conf == {"EPICS_PVAS_SERVER_PORT": "6000", "EPICS_PVAS_INTF_ADDR_LIST": "127.0.0.2"}
