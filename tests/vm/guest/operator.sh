# shellcheck shell=bash
# An operator's day against an authority on this machine's loopback.

authority=/var/lib/signet-authority

# as_authority ARGUMENT...: signet-authority as the user that its unit runs it as.
as_authority() {
    setpriv --reuid signet-authority --regid signet-authority --clear-groups \
        signet-authority --config $authority/authority.toml "$@"
}

# forget_enrolment: signetd forgets what it has, as its own user (see docs/operating.md).
forget_enrolment() {
    setpriv --reuid signet --regid signet --clear-groups signetd --config /etc/signet/signetd.toml --forget
}

authority_starts() {
    signet-authority --json init --dir $authority --operator alice --asset LT-4711 > /root/init.json
    cp maker/*.pem $authority/ek-roots/
    cp $keys/root.pem $authority/attestation-roots/software-key.pem
    printf '%s\n' '' '[[authenticators]]' 'name = "Software key"' 'roots = "attestation-roots/software-key.pem"' \
        'aaguids = ["8146e1f0-a2b3-4c5d-9e6f-001122334455"]' 'user_verification = "built-in-or-pin"' \
        >> $authority/authority.toml
    systemctl start signet-authority.service
    says '^signet-authority$' stat -c %U $authority/authority.db
    mkdir -p /etc/signet
    install -m 644 $authority/keys/server-ca.pem /etc/signet/authority-ca.pem
    printf '%s\n' 'authority = "https://localhost:8443"' 'authority_ca = "/etc/signet/authority-ca.pem"' \
        > /etc/signet/client.toml
}

machine_enrols() {
    json 'it["ticket"]' < /root/init.json | signet --json enrol --ticket-file - | tee /root/enrolled.json
    [ "$(json 'it["ek_certified"]' < /root/enrolled.json)" = True ]
}

operator_enrols_key() {
    as alice seat sh -c 'echo 294817 | signet --pin-fd 0 key pin set'
    press blue finger right-index
    as alice seat signet --json key add --name blue
}

log_in() {
    press blue finger right-index
    as alice seat signet --json login --new
    as alice seat signet token | grep -q .
}

operator_logs_in() {
    log_in
    says 'alice' as alice seat signet status
}

pulled_key_ends_login() {
    as alice seat signet --json login --new > /run/login.out 2>&1 &
    local login=$!
    await 60 timeout 20 bash -c "echo wait | nc -NU $keys/blue/control.sock"
    unplug blue
    local code=0
    wait $login || code=$?
    says 'AuthenticatorRemoved' cat /run/login.out
    [ $code = 3 ]
    replug blue
    await 60 has_key blue
    log_in
}

login_after_restart() {
    restart_signetd
    log_in
}

note_reset_count() {
    tpm2_readclock | sed -n 's/ *reset_count: //p' > /var/lib/vm-keys/reset-count
}
