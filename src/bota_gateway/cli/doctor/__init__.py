"""``bota-gateway doctor``: everything around the gateway that can be wrong, looked at in one go.

``command.py`` is the command, ``examination.py`` runs the checks side by side, ``cases.py`` says what a check and its
findings are. The checks stand in a file for each group: ``gateway.py``, ``hub.py``, ``bluetooth.py``, ``spool.py``,
``cloud.py``; what several of them need is asked once, in ``facts.py``. ``bundle.py`` writes the support archive.
"""
