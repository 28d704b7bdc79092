"""Django's settings: what production wants, and nothing that this server does not need."""

import os
import secrets

DEBUG = False
SECRET_KEY = secrets.token_hex()  # nothing is signed with it
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "views"
MIDDLEWARE: list[str] = []  # each would take its time of every request
INSTALLED_APPS: list[str] = []
LOGGING_CONFIG = None
USE_TZ = True

# The layer on pub/sub, of which its authors say that it is the faster of the two.
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [os.environ["STORE_URL"]]},
    }
}
