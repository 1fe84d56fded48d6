"""Commands that run or check the system: up, the roles, simulate, doctor, token, bench."""
