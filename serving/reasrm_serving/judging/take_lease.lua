-- Give the finished result, or take the lease on the work in the same step.
-- KEYS[1]: where the result will be; KEYS[2]: the lease; ARGV[1]: the asker's token; ARGV[2]: the lease's life in ms.
-- Returns the result, or 1 if the lease is the asker's now, or 0 if somebody else holds it.
local result = redis.call('GET', KEYS[1])
if result then
  return result
end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return 1
end
return 0
