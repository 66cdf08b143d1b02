"""All parsers of foreign bytes: {name: function that makes the `Parser`}.

Modules that a parser needs are imported when it is made.
"""

from tests.campaigns import parsers_media, parsers_serving, parsers_stored

PARSERS = {**parsers_media.PARSERS, **parsers_stored.PARSERS, **parsers_serving.PARSERS}
