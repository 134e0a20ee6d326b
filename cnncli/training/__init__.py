"""The tail learns: plan, step, schedule, stopping, ledger."""
