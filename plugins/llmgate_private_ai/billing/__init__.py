"""Billing by Stripe: events in, subscriptions and the portal out, webhooks on to those who asked for them."""
