# shellcheck shell=bash
# Alice's desktop: her agent as the user unit that D-Bus starts, and a far host that asks through `ssh -R`.

desktop=/run/desktop
far=/run/far

desktop_begins() {
    install -d -o alice -m 700 $desktop
    install -m 644 desktop.py $desktop.py
    as alice seat systemd-run --user --quiet --collect --unit=desktop /usr/bin/python3 $desktop.py $desktop
    await 60 test -f $desktop/terminal
    as alice seat systemctl --user set-environment "GPG_TTY=$(cat $desktop/terminal)" TERM=xterm
    as alice seat systemctl --user reset-failed signet-agent.service || true
}

desktop_ends() {
    as alice seat systemctl --user stop signet-agent.service desktop.service
    says '^success$' as alice seat systemctl --user show --property Result --value signet-agent.service
    as alice seat systemctl --user unset-environment GPG_TTY TERM
}

# person METHOD ARGUMENT...: alice works her desktop.
person() {
    local method=$1
    shift
    as alice seat gdbus call --session -d org.freedesktop.Notifications -o /org/freedesktop/Notifications \
        -m "org.signet.Person.$method" "$@"
}

# shown EXPRESSION: of `all` that the desktop was given since the last `clean_desk`, and the `last` of it.
shown() {
    python3 -c 'import json, sys
all = [json.loads(line) for line in open(sys.argv[1])]
last = all[-1] if all else {"id": 0, "title": None, "body": "", "actions": []}
print(all)
result = eval(sys.argv[2])
sys.exit(0 if result is True else f"not so: {sys.argv[2]}: {result}")' $desktop/shown "$1"
}

clean_desk() {
    : > $desktop/shown
    : > $desktop/screen
}

last_id() { tail -n 1 $desktop/shown | json 'it["id"]'; }

agent_is_started_by_the_bus() {
    refused as alice seat systemctl --user --quiet is-active signet-agent.service
    desktop_begins
    clean_desk
    press blue finger right-index
    as alice seat signet --json --reason '<b>pay</b> the rent' login --new
    says '^active$' as alice seat systemctl --user is-active signet-agent.service
    await 30 shown 'last["title"] == "Done"'
    # One notification from the first word to the last.
    shown 'all[0]["title"] == "Sign in" and all[0]["actions"] == ["refuse", "Refuse"]'
    shown '"“&lt;b&gt;pay&lt;/b&gt; the rent”" in all[0]["body"]'
    shown 'len({one["id"] for one in all}) == 1 and last["actions"] == []'
    shown '"(alice, process " in all[0]["body"] and ", session-" in all[0]["body"]'
    # The user's own file, socket and nobody else's.
    says '^alice:alice 600$' stat -c '%U:%G %a' /run/user/1000/signet/remote.sock
}

agent_takes_the_pin() {
    clean_desk
    as alice seat signet --json finger list > /run/fingers.out 2>&1 &
    local listing=$!
    await 60 grep -aq 'PIN of your key' $desktop/screen
    await 30 shown '"PIN needed" in last["body"]'
    person Type "$(printf '294817\r')"
    wait $listing
    says '"max_samples"' cat /run/fingers.out
    refused grep -a 294817 $desktop/screen $desktop/shown /run/fingers.out
}

# Another machine as far as it can tell: its own host name, its own user, and nothing of alice's but the socket.
far_host_begins() {
    install -d -m 755 $far
    local new=(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2)
    "${new[@]}" -subj '/CN=Gateways' -addext keyUsage=critical,keyCertSign -keyout $far/ca.key -out $far/ca.pem
    "${new[@]}" -subj '/CN=gateway' -CA $far/ca.pem -CAkey $far/ca.key -addext subjectAltName=DNS:ctl.mesh.example \
        -addext basicConstraints=critical,CA:FALSE -keyout $far/gateway.key -out $far/gateway.pem
    openssl verify -CAfile $far/ca.pem $far/gateway.pem
    echo '127.0.0.1 ctl.mesh.example' >> /etc/hosts
    systemd-run --quiet --collect --unit=gateway /usr/bin/python3 "$PWD/gateway.py" $far/gateway.pem \
        $far/gateway.key "$(device_ca)" 9555 $far/requests
    usermod -p '*' mallory
    ssh-keygen -q -t ed25519 -N '' -f $far/host-key
    install -d -o alice -g alice -m 700 /home/alice/.ssh
    setpriv --reuid alice --regid alice --clear-groups ssh-keygen -q -t ed25519 -N '' -f /home/alice/.ssh/id_ed25519
    install -d -o mallory -g mallory -m 700 /home/mallory/.ssh
    install -o mallory -m 600 /home/alice/.ssh/id_ed25519.pub /home/mallory/.ssh/authorized_keys
    mkdir -p /run/sshd
    systemd-run --quiet --collect --unit=far-host unshare --uts bash -c "hostname bastion && exec /usr/sbin/sshd \
        -D -e -f /dev/null -o HostKey=$far/host-key -o ListenAddress=127.0.0.1 -o Port=2222 -o UsePAM=no"
    await 60 nc -z 127.0.0.1 2222
    await 60 nc -z 127.0.0.1 9555
}

device_ca() { ls $authority/keys/device-ca.pem; }

# at_far_host COMMAND: in a login by ssh that carries the agent's socket there.
at_far_host() {
    as alice seat ssh -q -o StrictHostKeyChecking=no -o ExitOnForwardFailure=yes -p 2222 \
        -R /home/mallory/signet.sock:/run/user/1000/signet/remote.sock mallory@127.0.0.1 \
        "rm -rf .cache; SIGNET_SOCKET=/home/mallory/signet.sock $1; code=\$?; rm -f signet.sock; exit \$code"
}

far_request_is_approved_here() {
    sed -i '/^gateway_ca/d' /etc/signet/client.toml
    echo "gateway_ca = \"$far/ca.pem\"" >> /etc/signet/client.toml
    far_host_begins
    as alice seat systemctl --user restart signet-agent.service
    await 30 test -S /run/user/1000/signet/remote.sock
    clean_desk
    press blue finger right-index
    at_far_host 'signet --json request DELETE https://ctl.mesh.example:9555/v1/namespaces/payments/routes/old --action mesh.route.update' \
        > /run/far.out 2>&1 || { cat /run/far.out; return 1; }
    cat /run/far.out
    says '"status": ?204' cat /run/far.out
    says 'at the workstation: ' cat /run/far.out
    # The workstation said what is asked, in its own words, and who claims to ask.
    await 30 shown 'last["title"] == "Done"'
    shown '"mesh.route.update" in all[0]["body"] and "/v1/namespaces/payments/routes/old" in all[0]["body"]'
    shown '"a far host, which is not proved: “bastion”" in all[0]["body"]'
    # One request came, on this machine's own connection, with a token for it alone.
    [ "$(wc -l < $far/requests)" = 1 ]
    cat $far/requests
    json '(it["method"], it["path"], it["claims"]["sub"])' < $far/requests | grep -Fx "('DELETE', '/v1/namespaces/payments/routes/old', 'alice')"
    json 'it["claims"]["authorization_details"][0]["actions"]' < $far/requests | grep -F mesh.route.update
}

far_host_gets_nothing_else() {
    local code=0
    at_far_host 'signet --json login' > /run/far.out 2>&1 || code=$?
    cat /run/far.out
    [ $code != 0 ]
    # The person says no, and far hosts leave them in peace.
    clean_desk
    at_far_host 'signet --json request PUT https://ctl.mesh.example:9555/v1/namespaces/payments/routes/old --action mesh.route.update' \
        > /run/far.out 2>&1 &
    local asking=$!
    await 60 shown 'last["actions"] == ["refuse", "Refuse"]'
    await 60 bash -c "echo wait | nc -NU $keys/blue/control.sock"
    person Press "$(last_id)" refuse
    code=0
    wait $asking || code=$?
    says 'refused at the prompt' cat /run/far.out
    [ $code = 1 ]
    at_far_host 'signet --json request PUT https://ctl.mesh.example:9555/v1/namespaces/payments/routes/new --action mesh.route.update' \
        > /run/far.out 2>&1 || true
    says 'resting' cat /run/far.out
    [ "$(wc -l < $far/requests)" = 1 ]
    systemctl stop far-host.service gateway.service
}
