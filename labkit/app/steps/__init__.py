"""The steps of the lab: data, prepare, model, train, evaluate, predict."""
