//! The authority: enrolment, challenges, token exchange, policy, audit and the gateways' endpoint.
