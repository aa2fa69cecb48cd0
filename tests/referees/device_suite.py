"""pytest plugin: Yubico's device tests (tests/device in the sdist of python-fido2, BSD-2-Clause) on a
software key, with nobody at it.

The tests ask a person to touch, to plug and to put a finger; here the key's control socket does.
SIGNET_KEY and SIGNET_CONTROL name the sockets, SIGNET_OUTCOMES the file that gets one line of JSON
for each test.
"""

import json
import os
import time

import fido2.hid
import pytest
import rig

KEY, CONTROL = os.environ["SIGNET_KEY"], os.environ["SIGNET_CONTROL"]
FINGER = "right-index"


def plugged():
    if not os.path.exists(KEY):
        return False
    try:
        rig.Connection(KEY).close()
    except OSError:
        return False
    return True


def insert():
    rig.control(CONTROL, "replug")
    while not plugged():
        time.sleep(0.01)


fido2.hid.list_descriptors = lambda: [rig.descriptor(KEY)] if plugged() else []
fido2.hid.open_connection = lambda found: rig.Connection(found.path)
fido2.hid.open_device = rig.open_key


def pytest_configure(config):
    # Later than the tests' own conftest would import it, so that it finds the functions above.
    import tests.device as device

    def say(self, *messages):
        for message in map(str, messages):
            if "fingerprint against" in message or "User Verification required" in message:
                rig.control(CONTROL, f"finger {FINGER}")

    device.Printer.print = say
    # The key counts as touched whenever it asks.
    device.Printer.touch = lambda self: None
    device.Printer.remove = lambda self, nfc=False: rig.control(CONTROL, "unplug")
    device.Printer.insert = lambda self, nfc=False: insert()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    why = ""
    if report.skipped:
        why = report.longrepr[2].removeprefix("Skipped: ")
    elif report.failed:
        why = f"{report.when}: {call.excinfo.exconly()}".splitlines()[0]
        # A test that fails half-way may leave the key without its PIN, or with a finger.
        if "dev_manager" in item.funcargs:
            item.funcargs["dev_manager"]._factory_reset(setup=True)
    elif report.when != "call":
        return
    line = {"test": item.nodeid.removeprefix("tests/device/"), "outcome": report.outcome, "why": why}
    with open(os.environ["SIGNET_OUTCOMES"], "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
