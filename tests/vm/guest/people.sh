# shellcheck shell=bash
# Who is where: alice in front of the machine and from another host; mallory on a hidden
# console, then from afar. polkit and logind are the machine's own, the policy is the package's.

polkit_decides() { [ -f /usr/share/polkit-1/actions/org.signet.presence.policy ]; }

# For polkit a session is as active as the most active one of its user: who is to count as inactive has no
# other session.
people_arrive() {
    begin_session alice seat
    begin_session alice ssh
    begin_session mallory behind
}

# ask USER WHERE METHOD ARGUMENT...: a call to signetd; prints the answer or the error by name.
ask() {
    local user=$1 where=$2 method=$3
    shift 3
    as "$user" "$where" gdbus call --system --timeout 60 -d org.signet.Presence1 -o /org/signet/Presence1 \
        -m "org.signet.Presence1.$method" "$@" 2>&1 || true
}

ask_for_session() {
    ask "$1" "$2" RequestPresence token1 "{'purpose': <'session'>, 'challenge': <[byte 1, 2]>, 'subject': <'alice'>}"
}

# Nothing is enrolled yet: whoever is let in hears that.
ask_everything() {
    ask_for_session "$1" "$2"
    ask "$1" "$2" RegisterAuthenticator token2 "{'challenge': <[byte 1, 2]>, 'subject': <'alice'>}"
    ask "$1" "$2" ListCredentials token3 "{'path': <'/dev/hidraw99'>}"
    ask "$1" "$2" BeginEnrolment
}

who_sits_there_may() {
    ask_everything alice seat > /run/asked
    cat /run/asked
    # BeginEnrolment is the administrator's.
    [ "$(grep -c 'Error.NotAuthorized' /run/asked)" = 1 ]
    says 'Error.NotAuthorized' tail -n 1 /run/asked
}

# may_nothing USER WHERE
may_nothing() {
    ask_everything "$1" "$2" > /run/asked
    cat /run/asked
    [ "$(grep -c 'Error.NotAuthorized' /run/asked)" = 4 ]
}

stranger_from_afar_may_nothing() {
    begin_session mallory ssh
    may_nothing mallory ssh
}

# A rule of the administrator's lets mallory ask from afar, and only that.
rule_admits() {
    cat > /etc/polkit-1/rules.d/40-vm.rules <<-'RULE'
	polkit.addRule(function(action, subject) {
	  if (action.id == "org.signet.presence.request" && action.lookup("purpose") == "session" &&
	      subject.user == "mallory") { return polkit.Result.YES; }
	});
	RULE
    rule_counts() { ! ask_for_session mallory ssh | grep -q NotAuthorized; }
    await 60 rule_counts
    says 'Error.NotAuthorized' ask mallory ssh ListCredentials token3 "{}"
    rm /etc/polkit-1/rules.d/40-vm.rules
    rule_is_gone() { ! rule_counts; }
    await 60 rule_is_gone
}

no_polkit_no_answer() {
    systemctl mask --runtime --now polkit.service
    ask_for_session alice seat > /run/asked
    systemctl unmask --runtime polkit.service
    systemctl start polkit.service
    says 'Error.NotAuthorized.*polkit is installed but cannot be started' cat /run/asked
}

set_locked_hint() {
    as alice seat busctl call org.freedesktop.login1 /org/freedesktop/login1/session/self \
        org.freedesktop.login1.Session SetLockedHint b "$1"
}

renews() { as alice seat signet token --renew > /dev/null; }

locked_screen_pauses() {
    renews
    set_locked_hint true
    refused renews
    says 'SessionPaused|session-paused|paused|locked' as alice seat signet --json token --renew
    set_locked_hint false
    await 60 renews
}

# With on_lock = "end" the session of whoever locks the screen is over.
lock_ends_session() {
    change_setting on_lock end
    log_in
    loginctl lock-sessions
    await 60 refused renews
    set_locked_hint false || true
    refused renews
    restore_settings
    log_in
}
