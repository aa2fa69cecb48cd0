-- Each mint asks whether its place in the status lists was revoked with everything.
CREATE INDEX revocations_of_all ON revocations (status_index) WHERE kind = 'all';
