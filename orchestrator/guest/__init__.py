"""What a guest is asked: the agent, SSH, service control, deployment; and how a target is found."""
