"""Probes of the own box, the network and services: to come. Their findings become events."""
