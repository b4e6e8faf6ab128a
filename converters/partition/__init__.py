"""Who computes what: verdicts per operator, costs, and the solver that makes a `Plan` of them."""
