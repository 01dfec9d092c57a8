"""What a policy would have earned, from what another policy logged: estimates, their intervals, what they rest on, and the gate."""
