"""What is generated for monitoring: the PrometheusRule, the dashboard, and the chart's copies of both."""
