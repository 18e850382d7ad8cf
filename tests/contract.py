"""What may only be added to: names that other people's tools know."""

from __future__ import annotations

from typing import Final

#: Each metric and its labels, which dashboards and alerts rely on.
METRICS: Final[dict[str, set[str]]] = {
    "dnsfront_queries_total": {"worker", "transport"},
    "dnsfront_responses_total": {"worker", "rcode"},
    "dnsfront_response_duration_seconds_count": {"worker", "source"},
    "dnsfront_cache_requests_total": {"worker"},
    "dnsfront_cache_hits_total": {"worker"},
    "dnsfront_cache_entries": {"worker"},
    "dnsfront_cache_evictions_total": {"worker"},
    "dnsfront_upstream_requests_total": {"upstream"},
    "dnsfront_upstream_failures_total": {"upstream"},
    "dnsfront_upstream_up": {"upstream"},
    "dnsfront_upstream_duration_seconds_count": {"upstream"},
    "dnsfront_coalesced_queries_total": {"worker"},
    "dnsfront_steered_total": {"worker"},
    "dnsfront_steering_total": {"outcome"},
    "dnsfront_steering_info": {"mode"},
    "dnsfront_limit_reached_total": {"limit"},
    "dnsfront_ring_slots": {"worker"},
    "dnsfront_worker_up": {"worker"},
    "dnsfront_worker_state": {"worker", "state"},
    "dnsfront_worker_restarts_total": {"worker"},
    "dnsfront_worker_backlog": {"worker"},
    "dnsfront_socket_drops_total": {"worker"},
    "dnsfront_ring_generation": set(),
    "dnsfront_ring_slots_moved_total": set(),
    "dnsfront_handover_total": {"reason"},
    "dnsfront_kernel_cache_hits_total": {"worker"},
    "dnsfront_kernel_cache_entries": set(),
    "dnsfront_kernel_cache_size_bytes": set(),
    "dnsfront_config_reloads_total": {"result"},
    "dnsfront_config_last_reload_success_timestamp_seconds": set(),
    "dnsfront_config_last_reload_successful": set(),
    "dnsfront_build_info": {"version", "python"},
}
