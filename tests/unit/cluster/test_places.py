from detectors.cluster.places import addresses, workers_of

WORKERS = {
    "tcp://10.0.1.1:4001": {"host": "10.0.1.1", "resources": {}},
    "tcp://10.0.1.1:4000": {"host": "10.0.1.1", "resources": {"GPU": 1.0}},
    "tcp://10.0.9.9:4000": {"host": "10.0.9.9", "resources": {"host-daq2": 1.0}},
    "tcp://10.0.9.9:4001": {"host": "10.0.9.9", "resources": {"host-daq22": 1.0}},
}
NAMES = {"daq1": {"10.0.1.1"}, "daq3": {"10.0.3.1"}}


def test_a_worker_belongs_to_a_host_by_its_address_or_by_its_resource() -> None:
    found = workers_of(["daq1", "daq2", "daq3"], WORKERS, lambda host: NAMES.get(host, ()))
    assert found == {"daq1": ["tcp://10.0.1.1:4000", "tcp://10.0.1.1:4001"], "daq2": ["tcp://10.0.9.9:4000"]}


def test_a_name_that_is_none_has_no_address() -> None:
    assert addresses("no-such-host.invalid") == set()
    assert "127.0.0.1" in addresses("127.0.0.1")
