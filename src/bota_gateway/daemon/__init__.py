"""Wires the rooms together, supervises them and speaks to systemd."""

from bota_gateway.daemon.gateway import Gateway

__all__ = ["Gateway"]
