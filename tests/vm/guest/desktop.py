#!/usr/bin/python3
"""desktop.py FOLDER: a person's desktop on the session bus: a notification server, and a terminal for a pinentry.

FOLDER/shown gets a line of JSON for each notification and each that is taken back, FOLDER/screen what the
terminal shows, FOLDER/terminal the terminal's name once everything stands. The person works it by calls at
/org/freedesktop/Notifications: org.signet.Person.Press (u id, s key), org.signet.Person.Type (s text).
"""

import json
import os
import pty
import sys

from gi.repository import Gio, GLib

NAME, PATH = "org.freedesktop.Notifications", "/org/freedesktop/Notifications"
INTERFACES = """<node><interface name="org.freedesktop.Notifications">
<method name="GetCapabilities"><arg direction="out" type="as"/></method>
<method name="GetServerInformation">
  <arg direction="out" type="s"/><arg direction="out" type="s"/>
  <arg direction="out" type="s"/><arg direction="out" type="s"/></method>
<method name="Notify">
  <arg direction="in" type="s"/><arg direction="in" type="u"/><arg direction="in" type="s"/>
  <arg direction="in" type="s"/><arg direction="in" type="s"/><arg direction="in" type="as"/>
  <arg direction="in" type="a{sv}"/><arg direction="in" type="i"/><arg direction="out" type="u"/></method>
<method name="CloseNotification"><arg direction="in" type="u"/></method>
</interface><interface name="org.signet.Person">
<method name="Press"><arg direction="in" type="u"/><arg direction="in" type="s"/></method>
<method name="Type"><arg direction="in" type="s"/></method>
</interface></node>"""

folder = sys.argv[1]
person, terminal = pty.openpty()
bus = Gio.bus_get_sync(Gio.BusType.SESSION)
last = 0


def keep(shown):
    with open(f"{folder}/shown", "a") as file:
        file.write(json.dumps(shown) + "\n")


def call(_bus, _sender, _path, _interface, method, arguments, answer):
    global last
    given, result = arguments.unpack(), None
    if method == "GetCapabilities":
        result = GLib.Variant("(as)", (["actions", "body", "body-markup"],))
    elif method == "GetServerInformation":
        result = GLib.Variant("(ssss)", ("desktop.py", "signet", "1", "1.2"))
    elif method == "Notify":
        _, replaced, _, title, body, actions, _, _ = given
        if not replaced:
            last += 1
        keep({"id": replaced or last, "title": title, "body": body, "actions": actions})
        result = GLib.Variant("(u)", (replaced or last,))
    elif method == "CloseNotification":
        keep({"id": given[0], "title": None, "body": "", "actions": []})
    elif method == "Press":
        bus.emit_signal(None, PATH, NAME, "ActionInvoked", GLib.Variant("(us)", given))
    else:
        os.write(person, given[0].encode())
    answer.return_value(result)


def read(descriptor, _condition):
    with open(f"{folder}/screen", "ab") as file:
        file.write(os.read(descriptor, 4096))
    return True


for interface in Gio.DBusNodeInfo.new_for_xml(INTERFACES).interfaces:
    bus.register_object(PATH, interface, call, None, None)
GLib.io_add_watch(person, GLib.IO_IN, read)
for name in ("shown", "screen"):
    open(f"{folder}/{name}", "w").close()


def ready(_bus, _name):
    with open(f"{folder}/terminal.new", "w") as file:
        file.write(os.ttyname(terminal))
    os.rename(f"{folder}/terminal.new", f"{folder}/terminal")


Gio.bus_own_name_on_connection(bus, NAME, Gio.BusNameOwnerFlags.NONE, ready, None)
GLib.MainLoop().run()
