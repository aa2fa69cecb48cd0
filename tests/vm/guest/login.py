#!/usr/bin/python3
"""login.py USER WHERE FILE: begins a login session, as a login program would, and stays in it.

WHERE: `seat` (in front of seat0: active), `behind` (seat0, on a console that is not shown: inactive) or
`ssh` (from another host: remote). FILE gets the session's id once it stands. logind is asked directly
because no PAM service here can claim a remote host. The session lives as long as this process.
"""

import os
import pwd
import signal
import sys

from gi.repository import Gio, GLib

# type, seat, console, terminal, remote, remote host
PLACES = {
    "seat": ("tty", "seat0", 1, "tty1", False, ""),
    "behind": ("tty", "seat0", 2, "tty2", False, ""),
    "ssh": ("tty", "", 0, "", True, "far.example"),
}

_, name, where, file = sys.argv
user = pwd.getpwnam(name)
kind, seat, console, terminal, remote, host = PLACES[where]
reply, descriptors = Gio.bus_get_sync(Gio.BusType.SYSTEM).call_with_unix_fd_list_sync(
    "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager", "CreateSession",
    GLib.Variant(
        "(uusssssussbssa(sv))",
        (user.pw_uid, os.getpid(), "login", kind, "user", "", seat, console, terminal, "", remote, "", host, []),
    ),
    None, Gio.DBusCallFlags.NONE, 60000, None, None,
)
# `descriptors` must live: logind ends the session when the last copy of the one in it is closed.
session = reply.unpack()[0]
with open(file + ".new", "w") as made:
    made.write(session)
os.rename(file + ".new", file)
signal.pause()
