-- Asks Signet's authority about each request. Whatever goes wrong, the request does not pass: only the
-- authority's 200 sets txn.signet_permit.

local AUTHORITY = "unix@{{run}}/authority.sock"
local TOLD = {
  "x-signet-subject", "x-signet-device", "x-signet-acr",
  "x-signet-session", "x-signet-action", "x-signet-decision",
}

-- Every value of a header; HAProxy counts them from 0.
local function values(headers, name)
  local found, list = headers[name], {}
  if found then
    local i = 0
    while found[i] ~= nil do
      list[#list + 1] = found[i]
      i = i + 1
    end
  end
  return list
end

-- The body, if it is here whole; nil when that is not certain.
local function whole_body(txn, headers)
  local lengths = values(headers, "content-length")
  local body = txn.f:req_body() or ""
  if #lengths == 1 and tonumber(lengths[1]) == #body then
    return body
  end
  -- HTTP/1 without a length and without chunks has none.
  local chunked = #values(headers, "transfer-encoding") > 0
  if #lengths == 0 and not chunked and txn.f:req_ver() == "1.1" and #body == 0 then
    return ""
  end
  return nil
end

local function refuse(txn, status, headers, body)
  local reply = txn:reply({ status = status })
  for name, list in pairs(headers) do
    for _, value in ipairs(list) do
      reply:add_header(name, value)
    end
  end
  reply:set_body(body)
  txn:done(reply)
end

core.register_action("signet", { "http-req" }, function(txn)
  local headers = txn.http:req_get_headers()
  local ask = {
    ["host"] = { "{{authority_name}}" },
    ["content-type"] = { "application/octet-stream" },
    ["x-forwarded-method"] = { txn.f:method() },
    ["x-forwarded-uri"] = { txn.f:pathq() },
    ["x-forwarded-host"] = values(headers, "host"),
    ["x-signet-source"] = { txn.f:src() },
    ["x-signet-peer-sha256"] = { txn:get_var("txn.signet_peer") or "" },
  }
  local authorizations = values(headers, "authorization")
  if #authorizations > 0 then
    ask["authorization"] = authorizations
  end
  local body = whole_body(txn, headers)
  if body then
    ask["x-signet-body"] = { "whole" }
  end

  local client = core.httpclient()
  local answer = client:post({
    url = "http://authority/v1/authorize",
    dst = AUTHORITY,
    headers = ask,
    body = body or "",
    timeout = 2000,
  })
  local status = answer and answer.status or 0
  if status == 200 then
    for _, name in ipairs(TOLD) do
      local told = values(answer.headers, name)
      if #told ~= 1 then
        return refuse(txn, 403, {}, "")
      end
      txn.http:req_set_header(name, told[1])
    end
    txn:set_var("txn.signet_permit", "yes")
  elseif status == 401 or status == 403 then
    refuse(txn, status, {
      ["content-type"] = values(answer.headers, "content-type"),
      ["www-authenticate"] = values(answer.headers, "www-authenticate"),
      ["cache-control"] = { "no-store" },
    }, answer.body or "")
  else
    refuse(txn, 503, {}, "")
  end
end)
