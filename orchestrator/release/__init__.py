"""The statement on a release: a plan, the runs it asks for, rules, and a signed go or no-go that anybody can check."""
