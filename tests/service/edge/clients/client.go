// What Go's gRPC sees of a server: `client PORT`; prints a line for each thing that went as it should.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/golang/protobuf/ptypes/wrappers"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
)

func check(ok bool, what ...interface{}) {
	if !ok {
		fmt.Fprintln(os.Stderr, what...)
		os.Exit(1)
	}
}

func main() {
	connection, err := grpc.Dial("127.0.0.1:"+os.Args[1], grpc.WithInsecure(), grpc.WithBlock())
	check(err == nil, err)
	call := func(ctx context.Context, name string, value []byte, options ...grpc.CallOption) ([]byte, error) {
		answer := &wrappers.BytesValue{}
		err := connection.Invoke(ctx, "/t.S/"+name, &wrappers.BytesValue{Value: value}, answer, options...)
		return answer.Value, err
	}
	ctx := context.Background()
	for i := 0; i < 100; i++ {
		answer, err := call(ctx, "Echo", []byte("hello"))
		check(err == nil && string(answer) == "hello", err)
	}
	fmt.Println("unary")
	large := bytes.Repeat([]byte("x"), 3000000)
	for _, options := range [][]grpc.CallOption{{}, {grpc.UseCompressor(gzip.Name)}} {
		answer, err := call(ctx, "Slow", large, options...)
		check(err == nil && bytes.Equal(answer, large), err)
	}
	fmt.Println("large")
	_, err = call(ctx, "Fail", []byte("Grüße"))
	check(status.Code(err) == codes.InvalidArgument && status.Convert(err).Message() == "Grüße", err)
	check(len(status.Convert(err).Details()) == 0 || err != nil)
	fmt.Println("error")
	short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	_, err = call(short, "Wait", []byte("x"))
	check(status.Code(err) == codes.DeadlineExceeded, err)
	fmt.Println("deadline")
	left, leave := context.WithCancel(ctx)
	time.AfterFunc(200*time.Millisecond, leave)
	_, err = call(left, "Wait", []byte("x"))
	check(status.Code(err) == codes.Canceled, err)
	fmt.Println("cancel")
	chat, err := connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/t.S/Chat")
	check(err == nil, err)
	for _, text := range []string{"a", "b", "c"} {
		check(chat.SendMsg(&wrappers.BytesValue{Value: []byte(text)}) == nil)
		answer := &wrappers.BytesValue{}
		check(chat.RecvMsg(answer) == nil && string(answer.Value) == text, text)
	}
	check(chat.CloseSend() == nil)
	check(chat.RecvMsg(&wrappers.BytesValue{}) == io.EOF)
	fmt.Println("streams")
}
