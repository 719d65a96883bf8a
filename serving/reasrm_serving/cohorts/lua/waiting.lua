-- KEYS[1]: a run. ARGV: gateway, how many rollouts wait there, ms after which a gateway that says nothing counts no more.
-- Returns how many wait at all gateways.
redis.call('hset', name, ARGV[1], ARGV[2] .. ':' .. now)
redis.call('pexpire', name, ARGV[3])
local total, entries = 0, redis.call('hgetall', name)
for i = 1, #entries, 2 do
  local count, at = string.match(entries[i + 1], '^(%d+):(%d+)$')
  if now - tonumber(at) < tonumber(ARGV[3]) then total = total + tonumber(count) else redis.call('hdel', name, entries[i]) end
end
return total
