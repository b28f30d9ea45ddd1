"""Takes captured recordings through create, URL, PUT, complete and proof, and says whose a recorder is.

uploader.py carries recordings through the steps: creating.py, putting.py, completing.py. resolve.py asks the cloud
about recorders. Meets sync only in the spool.
"""

from bota_gateway.upload.resolve import Registrar
from bota_gateway.upload.tools import Working
from bota_gateway.upload.uploader import Uploader

__all__ = ["Registrar", "Uploader", "Working"]
