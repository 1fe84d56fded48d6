"""Commands about models and lists: train, models, recommend, explain, why-not, steering, tune."""
