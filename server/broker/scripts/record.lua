-- Record one batch of an agent and announce it.
-- KEYS[1]  the agent's sorted set
-- ARGV     cap, retention ms, deadline ms of store time, channel, origin or -, t (us), events JSON, member...
-- returns  the new position; error LATE past the deadline (nothing recorded)
--
-- The floor is the member '-': a device below it may have missed something. The common path is seven calls; trimming
-- is made only where the set is over the cap or its oldest event past retention.
local key, cap, retention = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[3]) then
  return redis.error_reply('LATE the batch came after its deadline')
end
local function text(n) return string.format('%.0f', n) end

local top = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
local prev = tonumber(top[2] or '0')
local seq = prev + 1
if now > seq then seq = now end

local args, score = {}, text(seq)
for i = 8, #ARGV do
  args[#args + 1] = score
  args[#args + 1] = ARGV[i]
end
if not top[1] then -- just below, so that a device reset to before this batch is not reset again when it is cut off there
  args[#args + 1] = text(seq - 1)
  args[#args + 1] = '-'
end
redis.call('ZADD', key, unpack(args))

local oldest = redis.call('ZRANGE', key, 0, 1, 'WITHSCORES')
local cutoff = now - retention
local first = oldest[1] == '-' and oldest[4] or oldest[2]
if redis.call('ZCARD', key) - 1 > cap or (first and tonumber(first) <= cutoff) then
  local floor = tonumber(redis.call('ZSCORE', key, '-') or now)
  redis.call('ZREM', key, '-')
  local drop = math.max(redis.call('ZCARD', key) - cap, redis.call('ZCOUNT', key, '-inf', text(cutoff)))
  if drop > 0 then
    floor = math.max(floor, tonumber(redis.call('ZRANGE', key, drop - 1, drop - 1, 'WITHSCORES')[2]))
    redis.call('ZREMRANGEBYRANK', key, 0, drop - 1)
  end
  redis.call('ZADD', key, text(floor), '-')
end
if redis.call('PTTL', key) < retention then redis.call('PEXPIRE', key, text(retention + 86400000)) end
redis.call('SPUBLISH', ARGV[4], text(prev) .. ' ' .. score .. ' ' .. ARGV[6] .. ' ' .. ARGV[5] .. ' ' .. ARGV[7])
return score
