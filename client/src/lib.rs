//! signet: command line and library for operators.
