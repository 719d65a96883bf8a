-- ARGV: number, ms to keep, failure ('' where it is ranked), pivot ('' where there is none), whether the pivot is
-- the name's last one, then key and reward by turns.
-- A Redis that lost the cohort meanwhile learns of it again, so callers who come back find the rewards.
local number, ms, failure, pivot = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local state = get(number, 'state')
if state == 'ranked' then return 1 end
if failure ~= '' then
  if not state then return 1 end
  redis.call('hset', key(number), 'state', 'failed', 'failure', failure)
  redis.call('hincrby', key(number), 'failures', 1)
  keep(number, ms)
  return 1
end
if not state then
  redis.call('hset', key(number), 'gather_until', 0, 'until', 0, 'failures', 0, 'size', 0, 'members', 0)
  redis.call('rpush', name .. ':recent', number)
end
redis.call('hset', key(number), 'state', 'ranked')
redis.call('del', key(number, 'texts'))
for i = 6, #ARGV, 2 do redis.call('hset', key(number, 'rewards'), ARGV[i], ARGV[i + 1]) end
if pivot ~= '' then
  redis.call('set', key(number, 'pivot'), pivot)
  if ARGV[5] == '1' then redis.call('set', name .. ':pivot', pivot, 'px', ms) end
end
keep(number, ms)
redis.call('pexpire', name .. ':recent', ms)
return 1
