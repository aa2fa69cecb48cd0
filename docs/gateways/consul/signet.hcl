# A Consul sidecar in front of the control plane, with Signet deciding every request
# (extension builtin/ext-authz). Fill in the words in double braces.
Kind     = "service-defaults"
Name     = "control-plane"
Protocol = "http"
EnvoyExtensions = [
  {
    Name     = "builtin/ext-authz"
    # Makes the filter fail closed: Consul sets Envoy's failure_mode_allow to the contrary of this.
    Required = true
    Arguments = {
      ProxyType = "connect-proxy"
      Config = {
        IncludePeerCertificate = true
        WithRequestBody = {
          MaxRequestBytes     = 65536
          AllowPartialMessage = false
          PackAsBytes         = true
        }
        GrpcService = {
          Target = {
            Service = { Name = "signet-authority" }
            Timeout = "2s"
          }
          InitialMetadata = [
            { Key = "x-signet-body", Value = "whole" }
          ]
        }
      }
    }
  }
]
