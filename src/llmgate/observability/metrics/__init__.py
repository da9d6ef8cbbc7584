"""The gate's Prometheus metrics: what is measured, under which names, with labels from closed sets.

Labels are route, upstream, model, status class and the like; never a user or a key. A model that gate.toml
does not name is counted as "other". Several workers of a host count together (see `shared_values`): whichever is
scraped answers for all of them.
"""

from .instruments import Instruments
from .plugin_metrics import PluginMetrics
from .shared_values import SharedValues

__all__ = ["Instruments", "PluginMetrics", "SharedValues"]
