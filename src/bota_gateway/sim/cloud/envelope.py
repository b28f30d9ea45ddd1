"""Error bodies in the shapes the API's generations have shown."""

from bota_gateway.sim.cloud.call import ApiError, JsonObject
from bota_gateway.sim.cloud.options import ErrorVariant


def error_body(error: ApiError, variant: ErrorVariant, *, request_id: str) -> JsonObject:
    """An error in one of the shapes (docs/cloud-api.md, "Calls")."""
    match variant:
        case ErrorVariant.CODE_DETAILS:
            inner: JsonObject = {"code": error.code, "message": error.message}
            if error.field is not None:
                inner["details"] = {"field": error.field, "reason": error.message}
            return {"error": inner}
        case ErrorVariant.CODE_PARAM:
            inner = {"code": error.code, "message": error.message, "request_id": request_id}
            if error.field is not None:
                inner["param"] = error.field
            return {"error": inner}
        case ErrorVariant.TYPE:
            return {"error": {"type": error.code, "message": error.message}}
        case ErrorVariant.STRING:
            return {"error": error.message}
        case ErrorVariant.MESSAGE:
            return {"message": error.message}
