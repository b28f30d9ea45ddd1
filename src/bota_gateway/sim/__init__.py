"""Simulated recorders on a virtual radio, and an emulated cloud: products, shipped as the extra ``sim``.

Imported by the command line (lazily) and by tests, never by the daemon. Recorders: `recorder` with its `options` and
`faults`, on a `virtual_radio`, or by `serve` on a real controller. The cloud is in `cloud`, sample speech in `speech`.
"""
