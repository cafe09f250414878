// This file exists to tell the tests who calls, with what metadata, and when a stream ends.
package main

import (
	"context"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func (s withoutWatch) Check(ctx context.Context, in *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return s.statuses.Check(ctx, in)
}

func tellCall(ctx context.Context, in any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	tell(ctx, info.FullMethod)
	return handle(ctx, in)
}

func tellStream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	tell(stream.Context(), info.FullMethod)
	err := handle(server, stream)
	emit(map[string]string{"event": "end", "method": info.FullMethod, "code": status.Code(err).String()})
	return err
}

func tell(ctx context.Context, method string) {
	headers, _ := metadata.FromIncomingContext(ctx)
	emit(struct {
		Event    string      `json:"event"`
		Method   string      `json:"method"`
		Metadata metadata.MD `json:"metadata"`
	}{"call", method, headers})
}
