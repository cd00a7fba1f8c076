from detectors.balance import balance
from detectors.config import parse_config
from detectors.stats import MonitorStatus, ReceiverStatus, flat
from ioc.demo.client import put_together, status_records
from ioc.templates import loads

CONFIG = parse_config("""
[detector]
name = "D"
prefix = "T:"
[[udp]]
name = "M00"
expect_module_id = 0
port = 50001
[[pva]]
name = "CAM"
pv = "X:Y"
[disk]
folder = "/tmp/d"
""")
RECORDS = {key: name for load in loads(CONFIG) for key, name in status_records(load).items()}


def test_records_are_found_by_the_fields_that_they_show():
    assert RECORDS["udp.M00", "packets.lost"] == "T:M00:PacketsLost_RBV"
    assert RECORDS["udp.M00", "pebble.in_use"] == "T:M00:Pebble:InUse_RBV"
    assert RECORDS["pva.CAM", "updates.match"] == "T:CAM:Match_RBV"
    assert RECORDS["pva.CAM", "disk.written"] == "T:CAM:Disk:Written_RBV"


OF_THE_DISK = ("overwritten", "durable", "lost_on_disk", "unsynced")


def test_every_counter_of_the_balance_has_a_record():
    """Each counter by itself must unbalance the sums only if it comes back from its PV."""
    for worker, status in (("udp.M00", ReceiverStatus()), ("pva.CAM", MonitorStatus())):
        for name, value in flat(status).items():
            if type(value) is not int or (worker, name) in RECORDS:
                continue
            changed = put_together(status, {name: 1, "disk.name": "disk", "zmq.name": "zmq"})
            if name.startswith(("disk.", "zmq.")):
                assert name.split(".")[1] in ("subscribers", "free_bytes", "bytes", "errors", *OF_THE_DISK), name
            else:
                assert not any(balance(changed).values()), f"{worker}: {name} has no record"


def test_a_snapshot_comes_back_as_it_was():
    status = ReceiverStatus(state="Idle", pulse_id=7)
    values = {**flat(status), "packets.lost": 3.0, "rates.frames_hz": 99}
    back = put_together(ReceiverStatus(), values)
    assert (back.state, back.pulse_id, back.packets.lost, back.rates.frames_hz) == ("Idle", 7, 3, 99.0)
    assert isinstance(back.packets.lost, int)
