{{/* The configuration file of each role. What differs between pods of a role comes from their environment. */}}

{{- define "polarway.dataDir" -}}/var/lib/polarway{{- end -}}

{{/* "true" where processes share an etcd */}}
{{- define "polarway.overEtcd" -}}
{{- if or .Values.etcd.enabled .Values.externalEtcd.endpoints -}}true{{- end -}}
{{- end -}}

{{- define "polarway.etcdEndpoints" -}}
{{- if .Values.etcd.enabled -}}
{{- $name := include "polarway.rolename" (dict "root" . "role" "etcd") -}}
{{- $endpoints := list -}}
{{- range $number := until (int .Values.etcd.replicas) -}}
{{- $endpoints = append $endpoints (printf "http://%s-%d.%s.%s.svc:2379" $name $number $name $.Release.Namespace) -}}
{{- end -}}
{{- toJson $endpoints -}}
{{- else -}}
{{- toJson .Values.externalEtcd.endpoints -}}
{{- end -}}
{{- end -}}

{{- define "polarway.ingestDirectory" -}}
{{- if .Values.ingest.directory -}}
{{- .Values.ingest.directory -}}
{{- else if .Values.sharedVolume.enabled -}}
{{- printf "%s/streams" .Values.sharedVolume.mountPath -}}
{{- end -}}
{{- end -}}

{{- define "polarway.tables" -}}
{{- if .Values.storage.tables -}}
{{- .Values.storage.tables -}}
{{- else if .Values.sharedVolume.enabled -}}
{{- printf "%s/tables" .Values.sharedVolume.mountPath -}}
{{- end -}}
{{- end -}}

{{/* What all roles have in common, as JSON. */}}
{{- define "polarway.commonConfig" -}}
{{- $allowed := .Values.storage.allowed -}}
{{- if .Values.sharedVolume.enabled -}}
{{- $allowed = append $allowed .Values.sharedVolume.mountPath -}}
{{- end -}}
{{- /* A directory of the volume is below its root, and is not there before the first process that takes rows. */ -}}
{{- $streams := include "polarway.ingestDirectory" . -}}
{{- if and .Values.ingest.enabled (contains "://" $streams) -}}
{{- $allowed = append $allowed $streams -}}
{{- end -}}
{{- $storage := dict "allowed" (uniq $allowed) "writable" .Values.storage.writable -}}
{{- with include "polarway.tables" . -}}
{{- $_ := set $storage "tables" . -}}
{{- end -}}
{{- $s3 := dict -}}
{{- with .Values.objectStore.s3.endpoint }}{{ $_ := set $s3 "endpoint" . }}{{ end -}}
{{- with .Values.objectStore.s3.region }}{{ $_ := set $s3 "region" . }}{{ end -}}
{{- if .Values.objectStore.s3.allowHttp }}{{ $_ := set $s3 "allow_http" true }}{{ end -}}
{{- if .Values.objectStore.s3.virtualHosted }}{{ $_ := set $s3 "virtual_hosted" true }}{{ end -}}
{{- if $s3 }}{{ $_ := set $storage "s3" $s3 }}{{ end -}}
{{- $config := dict
      "data_dir" (include "polarway.dataDir" .)
      "log" (dict "level" .Values.log.level "format" .Values.log.format)
      "storage" $storage
      "metastore" (dict "prefix" .Values.metastore.prefix "lease_ttl" (printf "%ds" (int .Values.metastore.leaseSeconds))) -}}
{{- if include "polarway.overEtcd" . -}}
{{- $_ := set $config.metastore "etcd" (include "polarway.etcdEndpoints" . | fromJsonArray) -}}
{{- if and (not .Values.etcd.enabled) .Values.externalEtcd.tls.existingSecret -}}
{{- $_ := set $config.metastore "ca" "/etc/polarway/etcd-tls/ca.crt" -}}
{{- if .Values.externalEtcd.tls.clientCertificate -}}
{{- $_ := set $config.metastore "certificate" "/etc/polarway/etcd-tls/tls.crt" -}}
{{- $_ := set $config.metastore "key" "/etc/polarway/etcd-tls/tls.key" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.shuffle.url -}}
{{- $_ := set $config "shuffle" (dict "url" .Values.shuffle.url) -}}
{{- with .Values.shuffle.mode }}{{ $_ := set $config.shuffle "mode" . }}{{ end -}}
{{- end -}}
{{- toJson $config -}}
{{- end -}}

{{- define "polarway.schedulerConfig" -}}
{{- $values := .Values.scheduler -}}
{{- $scheduler := dict
      "listen" (printf "%s:50051" .Values.listenHost)
      "http_listen" (printf "%s:8080" .Values.listenHost)
      "drain_timeout" (printf "%ds" (int $values.drainSeconds))
      "executor_wait" (printf "%ds" (int $values.executorWaitSeconds))
      "results" $values.results -}}
{{- $query := dict "spill_limit" $values.spillLimit -}}
{{- with $values.memoryLimit }}{{ $_ := set $query "memory_limit" . }}{{ end -}}
{{- $config := dict "scheduler" $scheduler "query" $query "admission" (dict "max_running" (int $values.maxRunning)) -}}
{{- /* A plan that one executor runs alone is split for that one. */ -}}
{{- with include "polarway.slots" . }}{{ $_ := set $query "target_partitions" (int .) }}{{ end -}}
{{- toJson $config -}}
{{- end -}}

{{/* Executors and processes that take rows: how they are reached, and whom they work for. */}}
{{- define "polarway.workerConfig" -}}
{{- $executor := dict
      "listen" (printf "%s:50052" .Values.listenHost)
      "http_listen" (printf "%s:8080" .Values.listenHost) -}}
{{- if not (include "polarway.overEtcd" .) -}}
{{- $_ := set $executor "scheduler" (printf "%s.%s.svc:50051" (include "polarway.registration" .) .Release.Namespace) -}}
{{- end -}}
{{- toJson $executor -}}
{{- end -}}

{{- define "polarway.slots" -}}
{{- .Values.executor.slots | default (include "polarway.coresOf" .Values.executor.resources) -}}
{{- end -}}

{{- define "polarway.executorConfig" -}}
{{- $values := .Values.executor -}}
{{- $executor := include "polarway.workerConfig" . | fromJson -}}
{{- $_ := set $executor "drain_timeout" (printf "%ds" (int $values.drainSeconds)) -}}
{{- with include "polarway.slots" . }}{{ $_ := set $executor "slots" (int .) }}{{ end -}}
{{- with $values.memoryLimit }}{{ $_ := set $executor "memory_limit" . }}{{ end -}}
{{- toJson (dict "executor" $executor "query" (dict "spill_limit" $values.spillLimit)) -}}
{{- end -}}

{{- define "polarway.ingestConfig" -}}
{{- $values := .Values.ingest -}}
{{- $ingest := dict
      "listen" (printf "%s:8081" .Values.listenHost)
      "directory" (include "polarway.ingestDirectory" .)
      "log_limit" $values.logLimit
      "hot_limit" $values.hotLimit
      "feeds" $values.feeds.allowed -}}
{{- if $values.feeds.existingSecret }}{{ $_ := set $ingest "secrets" "/etc/polarway/feed-secrets" }}{{ end -}}
{{- if $values.feeds.certificatesSecret }}{{ $_ := set $ingest "certificates" "/etc/polarway/feed-certificates" }}{{ end -}}
{{- toJson (dict "executor" (include "polarway.workerConfig" . | fromJson) "ingest" $ingest) -}}
{{- end -}}

{{/* dict "root" "role": the file, with `config` and the role's own over what the chart says */}}
{{- define "polarway.configFile" -}}
{{- $common := include "polarway.commonConfig" .root | fromJson -}}
{{- $own := include (printf "polarway.%sConfig" .role) .root | fromJson -}}
{{- $values := index .root.Values .role -}}
{{- $config := mustMergeOverwrite $common $own (deepCopy .root.Values.config) (deepCopy $values.config) -}}
{{- include "polarway.toml" (dict "table" $config "path" "") -}}
{{- end -}}

{{/* A map as TOML: its values, then the tables in it. JSON's texts, numbers and lists are TOML's, too. */}}
{{- define "polarway.toml" -}}
{{- range $key, $value := .table }}
{{- if not (kindIs "map" $value) }}
{{ $key }} = {{ include "polarway.tomlValue" $value }}
{{- end }}
{{- end }}
{{- range $key, $value := .table }}
{{- if kindIs "map" $value }}
{{- $path := trimPrefix "." (printf "%s.%s" $.path $key) }}

[{{ $path }}]
{{- include "polarway.toml" (dict "table" $value "path" $path) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Numbers of values files are floating-point; those of the configuration are whole. */}}
{{- define "polarway.tomlValue" -}}
{{- if kindIs "float64" . -}}
{{- if eq (. | int64 | float64) . }}{{ . | int64 }}{{ else }}{{ . }}{{ end -}}
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end -}}
