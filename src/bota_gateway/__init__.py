"""Brings the recordings of Bota wearable recorders over Bluetooth LE into the Bota cloud, and loses none."""
