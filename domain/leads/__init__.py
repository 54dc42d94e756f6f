"""Leads: profiles, events and files of them."""
