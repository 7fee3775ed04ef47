"""One head from many sites that keep their data, by Flower: parameters travel, never data (McMahan et al., 2017).

What is sent, aggregated and handed out is Flower's; its reports to its makers stay off, whatever the environment says.
"""

import os

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"  # it is read when flwr is imported
