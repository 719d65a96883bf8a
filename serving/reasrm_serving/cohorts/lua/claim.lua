-- ARGV: number, owner, lease ms, ms that the cohort is kept meanwhile. Returns the texts, {} where it is not to be ranked now.
local number = ARGV[1]
local stored = redis.call('hmget', key(number), 'state', 'members', 'size', 'gather_until', 'claimed_until')
local state = stored[1]
if not state or state == 'ranked' then return {} end
if state == 'gathering' and tonumber(stored[2]) < tonumber(stored[3]) and now < tonumber(stored[4]) then return {} end
if state == 'ranking' and tonumber(stored[5]) > now then return {} end
local texts = redis.call('hgetall', key(number, 'texts'))
if #texts == 0 then return {} end
redis.call('hset', key(number), 'state', 'ranking', 'owner', ARGV[2], 'claimed_until', now + tonumber(ARGV[3]))
keep(number, ARGV[4])
return texts
