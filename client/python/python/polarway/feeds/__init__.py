"""Feeds from elsewhere: WebSocket servers and the trades of exchanges, one by one or merged.

They need the extra `polarway[feeds]`, which is imported when the first feed is made.
"""

from polarway.backoff import Backoff
from polarway.feeds.counts import Counts
from polarway.feeds.exchanges import TradeFeed, connect_exchange
from polarway.feeds.feed import Feed
from polarway.feeds.merge import Merged, Tagged, merge_streams
from polarway.feeds.trade import Trade
from polarway.feeds.websocket_feed import Resume, WebSocketDataStream

__all__ = [
    "Backoff",
    "Counts",
    "Feed",
    "Merged",
    "Resume",
    "Tagged",
    "Trade",
    "TradeFeed",
    "WebSocketDataStream",
    "connect_exchange",
    "merge_streams",
]
