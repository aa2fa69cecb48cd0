"""Validates real samples against the CDDL of docs/protocol.md, with a CBOR decoder and a CDDL
validator that are not ours.

usage: cddl.py PROTOCOL.md < samples

One sample a line: "evidence BASE64" or "cwt BASE64". Each is taken apart, and each part is judged by its own
rule. Then each part is edited, and every edit must be refused: a check that cannot fail says
nothing. Prints one line "RULE ACCEPTED REFUSED" for each rule; exits with 1 at the first surprise.
"""

import base64
import collections
import re
import sys

import cbor2
import pycddl


def rules(text):
    blocks = re.findall(r"^```cddl\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if not blocks:
        sys.exit("the document holds no CDDL")
    return "\n".join(blocks)


def whole_message(cddl):
    """The same rules without `.cbor` in the array of the message: pycddl 0.6.4 applies it to the
    neighbour of the element it stands at. The parts are judged by their own rules."""
    message, rest = re.split(r"^\]\)$", cddl, maxsplit=1, flags=re.MULTILINE)
    return re.sub(r" \.cbor [a-z-]+", "", message) + "])" + rest


class Judge:
    def __init__(self, cddl):
        self.cddl = {None: cddl, "presence-evidence": whole_message(cddl)}
        self.schemas = {}
        self.accepted = collections.Counter()
        self.refused = collections.Counter()

    def schema(self, rule):
        if rule not in self.schemas:
            cddl = self.cddl.get(rule, self.cddl[None])
            # The first rule is the one that is judged by.
            self.schemas[rule] = pycddl.Schema(f"sample = {rule}\n{cddl}")
        return self.schemas[rule]

    def fits(self, rule, encoded):
        try:
            self.schema(rule).validate_cbor(encoded)
        except pycddl.ValidationError as error:
            return str(error)
        return None

    def sound(self, rule, encoded):
        fault = self.fits(rule, encoded)
        if fault:
            sys.exit(f"{rule} refuses a genuine sample: {fault}")
        self.accepted[rule] += 1
        for name, edit in EDITS[rule]:
            value = cbor2.loads(encoded)
            edited = edit(value)
            if self.fits(rule, cbor2.dumps(edited)) is None:
                sys.exit(f"{rule} accepts a sample with {name}")
            self.refused[rule] += 1


def put(key, value):
    def edit(members):
        members[key] = value
        return members

    return edit


def without(key):
    def edit(members):
        del members[key]
        return members

    return edit


def item(index, value):
    def edit(tagged):
        items = list(tagged.value)
        items[index] = value
        return cbor2.CBORTag(18, items)

    return edit


EDITS = {
    "presence-evidence": [
        ("no tag", lambda tagged: list(tagged.value)),
        ("another tag", lambda tagged: cbor2.CBORTag(98, list(tagged.value))),
        # Not here: an unprotected header. pycddl 0.6.4 takes `{}` for any map; `evidence` looks itself.
        ("a detached payload", item(2, None)),
        ("a short signature", item(3, b"x" * 63)),
    ],
    "evidence-header": [
        ("another algorithm", put(1, -8)),
        ("another type", put(16, "application/cwt")),
        ("an unknown label", put(-70199, b"")),
        ("no certificate", without(33)),
        ("no TPM evidence", without(-70102)),
        ("an empty chain", put(33, [])),
        ("a certificate in text", put(33, "x")),
    ],
    "statement": [
        ("another profile", put(265, "urn:uuid:00000000-0000-0000-0000-000000000000")),
        ("a short challenge", put(10, b"1234567")),
        ("no challenge", without(10)),
        ("no audience", without(3)),
        ("no purpose", without(-70001)),
        ("an unknown purpose", put(-70001, 7)),
        ("two names for one key", put(8, {5: b"x" * 32, 1: 0})),
        ("a device id of another size", put(256, b"x" * 34)),
        ("an empty operator", put(2, "")),
        ("a session id of another size", put(-70004, b"x" * 15)),
    ],
    "fido-assertion": [
        ("no signature", without(4)),
        ("an unknown member", put(6, b"")),
        ("an unknown method", put(5, 4)),
    ],
    "fido-registration": [
        ("no client data", without(2)),
        ("an unknown member", put(3, b"")),
    ],
    "host-facts": [
        ("a reader without a name", put(1, "")),
        ("a finger set of another size", put(2, b"x" * 31)),
    ],
    "platform-assertion": [
        ("no key", without(1)),
        ("a key of another size", put(1, b"x" * 33)),
        ("no signature", without(2)),
        ("an unknown member", put(3, b"")),
    ],
    "platform-registration": [
        ("no public area", without(1)),
        ("a certification without signature", put(2, [b"x"])),
        ("an empty authorisation key", put(3, b"")),
        ("an unknown member", put(4, b"")),
    ],
    "tpm-evidence": [
        ("no AK certificate", without(1)),
        ("a quote without signature", put(2, [b"x"])),
        ("a certification without public area", put(3, [b"x", b"y"])),
        ("a SHA-1 register", put(4, {0: b"x" * 20})),
        ("an unknown member", put(6, b"")),
    ],
    "cwt-claims": [
        ("an unknown claim", put(10, b"")),
        ("no binding", without(8)),
        ("a binding of another size", put(8, {5: b"x" * 31})),
        ("no status", without(65535)),
    ],
}


def evidence(judge, message):
    judge.sound("presence-evidence", message)
    protected, unprotected, payload, _ = cbor2.loads(message).value
    if unprotected != {}:
        sys.exit("genuine evidence has an unprotected header")
    judge.sound("evidence-header", protected)
    judge.sound("statement", payload)
    header = cbor2.loads(protected)
    claims = cbor2.loads(payload)
    if -70005 in claims:
        judge.sound("host-facts", cbor2.dumps(claims[-70005], canonical=True))
    parts = {
        -70101: "fido-assertion",
        -70102: "tpm-evidence",
        -70103: "platform-assertion",
        -70104: "fido-registration",
        -70105: "platform-registration",
    }
    for label, rule in parts.items():
        if label in header:
            judge.sound(rule, header[label])


def cwt(judge, message):
    judge.sound("cwt-claims", cbor2.loads(message).value[2])


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        judge = Judge(rules(file.read()))
    kinds = {"evidence": evidence, "cwt": cwt}
    for line in sys.stdin:
        kind, encoded = line.split()
        kinds[kind](judge, base64.b64decode(encoded, validate=True))
    for rule in EDITS:
        print(rule, judge.accepted[rule], judge.refused[rule])


main()
