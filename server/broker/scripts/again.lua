-- Record a batch again that was acknowledged, where the store has lost it since.
-- KEYS[1]  the agent's sorted set
-- ARGV     acknowledged position, 1 to take that position if it is still free (else the present), cap, retention ms,
--          channel, origin or -, t (us), events JSON, member...
-- returns  the new position, 0 where nothing was lost
--
-- The floor is raised to it: what else was lost nobody may hold any more, so a device that was away begins anew. What
-- was dropped for the cap looks like what was lost, and takes its place again.
local key, acknowledged, cap, retention = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local function text(n) return string.format('%.0f', n) end

local lost = false
for i = 9, #ARGV do
  local score = redis.call('ZSCORE', key, ARGV[i])
  if not score or tonumber(score) < acknowledged then
    lost = true
    break
  end
end
if not lost then return 0 end

local least = acknowledged
if ARGV[2] ~= '1' then
  local time = redis.call('TIME')
  least = time[1] * 1000 + math.floor(time[2] / 1000)
end
local top = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
local prev = tonumber(top[2] or '0')
local score = text(math.max(prev + 1, least))
local args = {score, '-'}
for i = 9, #ARGV do
  args[#args + 1] = score
  args[#args + 1] = ARGV[i]
end
redis.call('ZADD', key, unpack(args)) -- the first write: a store that is full refuses it, and with it all
local over = redis.call('ZCARD', key) - 1 - cap -- fewer than were there: a batch has no more events than the least cap
if over > 0 then redis.call('ZREMRANGEBYRANK', key, 0, over - 1) end
if redis.call('PTTL', key) < retention then redis.call('PEXPIRE', key, text(retention + 86400000)) end
redis.call('SPUBLISH', ARGV[5], text(prev) .. ' ' .. score .. ' ' .. ARGV[7] .. ' ' .. ARGV[6] .. ' ' .. ARGV[8])
return score
