"""The soak of integrity: warm parents whose forks are daemons, faults, people, and the account at the end."""
