"""The callers' side: an asynchronous view, which needs no thread to speak to the layer."""

import json

from channels.layers import get_channel_layer
from django.http import HttpRequest, HttpResponse
from django.urls import path


async def handled(request: HttpRequest, agent: str) -> HttpResponse:
    try:
        events = json.loads(request.body)["NotificationEvents"]
    except (ValueError, KeyError, TypeError):
        return HttpResponse("not a batch of events", status=400)
    text = json.dumps({"type": "clear", "events": events})
    await get_channel_layer().group_send(f"agent-{agent}", {"type": "clear", "text": text})
    return HttpResponse(status=204)


urlpatterns = [path("agents/<agent>/handled", handled)]
