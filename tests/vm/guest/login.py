#!/usr/bin/python3
"""login.py USER WHERE -- COMMAND...: runs a command in a login session of its own, as a login program would.

WHERE: `seat` (in front of seat0: active), `behind` (seat0, on a console that is not shown: inactive),
`ssh` (from another host: remote), or `nowhere` (no session at all). logind is asked directly because no
PAM service here can claim a remote host. The session lives as long as the command.
"""

import os
import pwd
import sys

from gi.repository import Gio, GLib

SEATS = {
    "seat": ("tty", "seat0", 1, "tty1", False, ""),
    "behind": ("tty", "seat0", 2, "tty2", False, ""),
    "ssh": ("tty", "", 0, "", True, "far.example"),
}


def create_session(user, where):
    """Asks logind for a session that this process leads; returns its environment."""
    kind, seat, console, tty, remote, host = SEATS[where]
    bus = Gio.bus_get_sync(Gio.BusType.SYSTEM)
    arguments = GLib.Variant(
        "(uusssssussbssa(sv))",
        (user.pw_uid, os.getpid(), "login", kind, "user", "", seat, console, tty, "", remote, "", host, []),
    )
    reply, descriptors = bus.call_with_unix_fd_list_sync(
        "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager",
        "CreateSession", arguments, None, Gio.DBusCallFlags.NONE, 60000, None, None,
    )
    session, _, runtime, fifo, *_ = reply.unpack()
    # logind ends the session when the last copy of this descriptor is closed.
    os.set_inheritable(descriptors.get(fifo), True)
    return {
        "XDG_SESSION_ID": session,
        "XDG_RUNTIME_DIR": runtime,
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus",
    }


def main():
    name, where, dashes, *command = sys.argv[1:]
    assert dashes == "--", __doc__
    user = pwd.getpwnam(name)
    environment = {
        "HOME": user.pw_dir, "USER": name, "LOGNAME": name, "SHELL": user.pw_shell, "TERM": "dumb",
        "LANG": "C.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
    if where != "nowhere":
        environment |= create_session(user, where)
    os.initgroups(name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.chdir(user.pw_dir)
    os.execvpe(command[0], command, environment)


main()
