// The article's order service on Gin and pgx; with -guarantees also what Sluice promises.
//
// Build with Debian's packages: GO111MODULE=off GOPATH=/usr/share/gocode go build.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"log"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
)

const (
	take = `UPDATE product SET stock = stock - $2 WHERE sku = $1 AND stock >= $2
		RETURNING price_minor, stock`
	write = `INSERT INTO purchase (id, customer, sku, quantity, total_minor)
		VALUES ($1, $2, $3, $4, $5)`
	claim = `INSERT INTO idempotency (account_id, key, fingerprint) VALUES ($1, $2, $3)
		ON CONFLICT DO NOTHING`
	find = `SELECT fingerprint, status, body FROM idempotency WHERE account_id = $1 AND key = $2`
	keep = `UPDATE idempotency SET status = $3, body = $4 WHERE account_id = $1 AND key = $2`
	note = `INSERT INTO movement (sku, purchase_id, delta, balance) VALUES ($1, $2, $3, $4)`
	tell = `INSERT INTO outbox (type, purchase_id, payload) VALUES ('order.placed', $1, $2)`

	accountID = 1
)

type orderIn struct {
	Customer string `json:"customer" binding:"required"`
	SKU      string `json:"sku" binding:"required"`
	Quantity int    `json:"quantity" binding:"required,min=1"`
}

type orderOut struct {
	ID         int64  `json:"id"`
	Customer   string `json:"customer"`
	SKU        string `json:"sku"`
	Quantity   int    `json:"quantity"`
	TotalMinor int64  `json:"total_minor"`
}

type service struct {
	pool   *pgxpool.Pool
	cache  *redis.Pool
	lastID int64
}

// nextID returns an id without a lock: milliseconds and a counter, 22 bits of it.
func (s *service) nextID() int64 {
	now := (time.Now().UnixMilli() - 1_700_000_000_000) << 22
	for {
		last := atomic.LoadInt64(&s.lastID)
		next := now
		if next <= last {
			next = last + 1
		}
		if atomic.CompareAndSwapInt64(&s.lastID, last, next) {
			return next
		}
	}
}

// remember writes an order to the cache: the pipelined SET of the article.
func (s *service) remember(id int64, body []byte) {
	conn := s.cache.Get()
	defer conn.Close()
	_ = conn.Send("SET", "order:"+strconv.FormatInt(id, 10), body, "EX", 300)
	_ = conn.Flush()
	_, _ = conn.Receive()
}

var errNoStock = errors.New("insufficient_stock")

// place is the article's: take the stock and write the order in one transaction.
func (s *service) place(c *gin.Context) {
	var in orderIn
	if err := c.ShouldBindJSON(&in); err != nil {
		c.JSON(http.StatusBadRequest, gin.H{"error": err.Error()})
		return
	}
	out := orderOut{ID: s.nextID(), Customer: in.Customer, SKU: in.SKU, Quantity: in.Quantity}
	ctx := c.Request.Context()
	err := s.pool.BeginFunc(ctx, func(tx pgx.Tx) error {
		var price, balance int64
		err := tx.QueryRow(ctx, take, in.SKU, in.Quantity).Scan(&price, &balance)
		if errors.Is(err, pgx.ErrNoRows) {
			return errNoStock
		}
		if err != nil {
			return err
		}
		out.TotalMinor = price * int64(in.Quantity)
		_, err = tx.Exec(ctx, write, out.ID, in.Customer, in.SKU, in.Quantity, out.TotalMinor)
		return err
	})
	if err != nil {
		s.refuse(c, err)
		return
	}
	body, _ := json.Marshal(out)
	s.remember(out.ID, body)
	c.Data(http.StatusCreated, "application/json", body)
}

// placeOnce gives the guarantees of Sluice: a key is one order and one answer, every unit that
// moves is in the ledger, and the event is written in the same transaction.
func (s *service) placeOnce(c *gin.Context) {
	raw, err := c.GetRawData()
	if err != nil {
		c.JSON(http.StatusBadRequest, gin.H{"error": err.Error()})
		return
	}
	var in orderIn
	if err := json.Unmarshal(raw, &in); err != nil || in.SKU == "" || in.Quantity < 1 {
		c.JSON(http.StatusBadRequest, gin.H{"error": "malformed"})
		return
	}
	key := c.GetHeader("Idempotency-Key")
	if key == "" {
		c.JSON(http.StatusBadRequest, gin.H{"error": "idempotency_key_missing"})
		return
	}
	fingerprint := sha256.Sum256(raw)
	out := orderOut{ID: s.nextID(), Customer: in.Customer, SKU: in.SKU, Quantity: in.Quantity}
	status, isReplay := http.StatusCreated, false
	var body []byte
	ctx := c.Request.Context()
	err = s.pool.BeginFunc(ctx, func(tx pgx.Tx) error {
		claimed, err := tx.Exec(ctx, claim, accountID, key, fingerprint[:])
		if err != nil {
			return err
		}
		if claimed.RowsAffected() == 0 {
			isReplay = true
			var kept []byte
			err := tx.QueryRow(ctx, find, accountID, key).Scan(&kept, &status, &body)
			if err == nil && !bytes.Equal(kept, fingerprint[:]) {
				status, body = http.StatusUnprocessableEntity, []byte(`{"error":"key_reused"}`)
			}
			return err
		}
		var price, balance int64
		err = tx.QueryRow(ctx, take, in.SKU, in.Quantity).Scan(&price, &balance)
		if errors.Is(err, pgx.ErrNoRows) {
			// A refusal is an answer too: it is kept, and the transaction commits.
			status, body = http.StatusConflict, []byte(`{"error":"insufficient_stock"}`)
			_, err = tx.Exec(ctx, keep, accountID, key, status, body)
			return err
		}
		if err != nil {
			return err
		}
		out.TotalMinor = price * int64(in.Quantity)
		body, _ = json.Marshal(out)
		// One round trip for all that is written.
		batch := &pgx.Batch{}
		batch.Queue(write, out.ID, in.Customer, in.SKU, in.Quantity, out.TotalMinor)
		batch.Queue(note, in.SKU, out.ID, -in.Quantity, balance)
		batch.Queue(tell, out.ID, string(body))
		batch.Queue(keep, accountID, key, status, body)
		return tx.SendBatch(ctx, batch).Close()
	})
	if err != nil {
		s.refuse(c, err)
		return
	}
	if status == http.StatusCreated && !isReplay {
		s.remember(out.ID, body)
	}
	c.Data(status, "application/json", body)
}

func (s *service) refuse(c *gin.Context, err error) {
	if errors.Is(err, errNoStock) {
		c.JSON(http.StatusConflict, gin.H{"error": err.Error()})
		return
	}
	log.Print(err)
	c.JSON(http.StatusServiceUnavailable, gin.H{"error": "unavailable"})
}

func main() {
	hasGuarantees := flag.Bool("guarantees", false, "keys, ledger and outbox, as Sluice has them")
	bind := flag.String("bind", "127.0.0.1:8080", "where to listen")
	flag.Parse()

	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	config.MinConns, config.MaxConns = 4, 20
	pool, err := pgxpool.ConnectConfig(context.Background(), config)
	if err != nil {
		log.Fatal(err)
	}
	cache := &redis.Pool{MaxIdle: 20, Dial: func() (redis.Conn, error) {
		address := os.Getenv("REDIS_ADDRESS")
		network := "tcp"
		if address[0] == '/' {
			network = "unix"
		}
		return redis.Dial(network, address, redis.DialPassword(os.Getenv("REDIS_PASSWORD")))
	}}
	s := &service{pool: pool, cache: cache}

	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	router.Use(gin.Recovery())
	if *hasGuarantees {
		router.POST("/orders", s.placeOnce)
	} else {
		router.POST("/orders", s.place)
	}
	router.GET("/livez", func(c *gin.Context) { c.String(http.StatusOK, "ok") })
	log.Fatal(router.Run(*bind))
}
