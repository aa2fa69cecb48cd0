# shellcheck shell=bash
# Policies about what machines boot, from the authority that runs here.

all_enrol() {
    people_arrive
    start_key blue --fingers right-index
    await 60 has_key blue
    authority_starts
    machine_enrols
    operator_enrols_key
    log_in
}

policy_is_learned() {
    mkdir -p $authority/machine-policies
    as_authority machine baseline --name vm --mode enforce LT-4711 > /root/vm.toml
    cat /root/vm.toml
    install -o signet-authority -m 600 /root/vm.toml $authority/machine-policies/vm.toml
    systemctl restart signet-authority.service
    as_authority machine explain LT-4711
}

# machine_is_back: after a boot, everything that was enrolled is there.
machine_is_back() {
    systemctl start signet-authority.service
    start_key blue --fingers right-index
    await 60 has_key blue
    people_arrive
}

# login_is_refused PATTERN: by the authority, with words that tell a person why.
login_is_refused() {
    local code=0
    press blue finger right-index
    as alice seat signet --json login --new > /run/login.out 2>&1 || code=$?
    says "$1" cat /run/login.out
    [ $code = 1 ]
}

# authority_explains PATTERN...: what changed, in words.
authority_explains() {
    local pattern
    as_authority machine explain LT-4711 > "$results/explained.txt" 2>&1 || true
    for pattern in "$@"; do says "$pattern" cat "$results/explained.txt"; done
}
