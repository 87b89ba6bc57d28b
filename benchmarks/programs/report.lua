-- Makes wrk send a body of BENCH_BODY_BYTES, if any, and print what it found as one line of JSON.
local size = tonumber(os.getenv("BENCH_BODY_BYTES") or "0")
if size > 0 then
  wrk.method = "POST"
  wrk.body = string.rep("x", size)
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"bench": {"requests": %d, "seconds": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, ' ..
    '"socket_errors": %d, "timeouts": %d, "bad_statuses": %d}}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write, e.timeout, e.status))
end
