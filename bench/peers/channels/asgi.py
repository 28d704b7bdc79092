"""The devices' side, and what uvicorn runs."""

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path


class Sync(AsyncWebsocketConsumer):
    """One device, in the group of its agent."""

    async def connect(self):
        self.group = f"agent-{self.scope['url_route']['kwargs']['agent']}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def clear(self, event):
        await self.send(text_data=event["text"])


application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter([path("agents/<agent>/sync", Sync.as_asgi())]),
    }
)
